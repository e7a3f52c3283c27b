"""Images as clinics have them: file formats, pixel sizes, rosters of patients, eyes and visits."""
